"""Kept answers: the file that holds them, what makes two questions one, and how an answer is played back."""
