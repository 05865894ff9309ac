"""What every family is measured against, and how its teachers are made."""
