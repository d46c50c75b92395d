"""How good a catalogue is, against a table of true redshifts."""
