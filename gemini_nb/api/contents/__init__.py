"""What a request holds: texts, files, pictures, sounds, and values made into parts."""
