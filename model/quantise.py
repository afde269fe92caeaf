"""The door to `model.shipping.quantise`: `python -m model.quantise`."""

from model.shipping.quantise import main

if __name__ == "__main__":
    main()
