"""How PartWorld's small CLIP is made, and its model card; nothing else needs this room."""
