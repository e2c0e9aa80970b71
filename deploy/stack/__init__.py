"""The whole stack as plain processes of this machine, in one folder: `make stack`."""
