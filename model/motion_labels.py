"""The door to the check of labels that know time: `python -m model.motion_labels`."""

from model.judging.motion_labels import main

if __name__ == "__main__":
    main()
