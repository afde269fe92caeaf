"""The door to `model.judging.evaluate`: `python -m model.evaluate`."""

from model.judging.evaluate import main

if __name__ == "__main__":
    main()
