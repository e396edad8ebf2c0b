"""What the pinned stack needs in order to run without compiled ops."""


def install() -> None:
    """Puts every stand-in in place; each stands aside for the real thing."""
