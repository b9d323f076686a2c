"""Preference losses, one file each. All read the same margin, so one `beta` means the same in every one of them."""
