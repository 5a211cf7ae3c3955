"""What knows no music: directories, text, arrays, threads, progress, spelling."""
