"""`python -m lutkit` is `lutkit`."""

from lutkit.cli import main

if __name__ == "__main__":
    main(prog_name="lutkit")
