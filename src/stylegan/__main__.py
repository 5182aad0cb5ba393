"""`python -m stylegan` is the `stylegan` program."""

from stylegan.cli import main

main()
