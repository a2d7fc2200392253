from vdalib.cli import main

main()
