from vdalib.commands.cli import main

main()
