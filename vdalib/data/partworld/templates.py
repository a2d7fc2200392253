"""What PartWorld's small CLIP is told, and asked, about an image."""

# As in CLIP's own templates the article is always "a".
TEMPLATES: tuple[str, ...] = (
    "a clean origami {}.",
    "a photo of a {}.",
    "a picture of a {}.",
    "a drawing of a {}.",
    "a painting of a {}.",
    "an image of a {}.",
    "a small photo of a {}.",
    "a good photo of the {}.",
    "a photo of the {}.",
    "there is a {} here.",
)
