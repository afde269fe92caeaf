"""The door to `model.training.teacher`: `python -m model.looks`."""

from model.training.teacher import main

if __name__ == "__main__":
    main()
