"""The door to `model.training.students`: `python -m model.train`."""

from model.training.students import main

if __name__ == "__main__":
    main()
