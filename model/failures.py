"""The door to `model.judging.failures`: `python -m model.failures`."""

from model.judging.failures import main

if __name__ == "__main__":
    main()
