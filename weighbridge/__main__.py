"""`python -m weighbridge` is `weighbridge`."""

from weighbridge.cli import main

if __name__ == "__main__":
    main()
