"""The door to `model.data.teach`: `python -m model.teach`."""

from model.data.teach import main

if __name__ == "__main__":
    main()
