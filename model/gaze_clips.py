"""The door to `model.data.gaze_clips`: `python -m model.gaze_clips`."""

from model.data.gaze_clips import main

if __name__ == "__main__":
    main()
