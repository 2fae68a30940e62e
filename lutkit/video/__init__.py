"""Videos in, videos out: probing, reading, converting colours, encoding. PyAV is imported when a video is there."""
