"""``python -m safecompress``: the same program as the command ``safecompress``."""

from safecompress.cli.main import main

if __name__ == "__main__":
    main()
