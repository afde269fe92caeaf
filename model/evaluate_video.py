"""The door to `model.judging.evaluate_video`: `python -m model.evaluate_video`."""

from model.judging.evaluate_video import main

if __name__ == "__main__":
    main()
