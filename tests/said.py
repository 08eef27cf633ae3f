"""What a text must say, without its sentences: wording is mended often, figures, names and remedies are not."""


def says(text: str, *parts: object) -> bool:
    """Whether ``parts`` (figures, names, remedies) stand in ``text``, in this order."""
    place = 0
    for part in map(str, parts):
        place = text.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True
