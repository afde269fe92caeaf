"""The door to `model.shipping.export`: `python -m model.export`."""

from model.shipping.export import main

if __name__ == "__main__":
    main()
