"""What a person types: one file a command behind `python -m vdalib` (`cli`)."""
