"""The commands of `edge`, one file a section of its help. Each imports what it needs when it is called."""
