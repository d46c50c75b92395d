"""From p(z) to redshifts, intervals and risk; and how good they are."""
