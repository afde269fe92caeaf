"""The door to `model.shipping.unisal`: `python -m model.unisal`."""

from model.shipping.unisal import main

if __name__ == "__main__":
    main()
