"""`python -m pipelines` is the console script `gan-pipelines`."""

from pipelines.cli import main

if __name__ == "__main__":
    main()
