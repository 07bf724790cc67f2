"""`python -m pipelines` is the console script `gan-pipelines`."""

from gan_pipelines import main

if __name__ == "__main__":
    main()
