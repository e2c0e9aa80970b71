"""Files of rows become files of answers, with an artifact: streaming, restartable, bad rows set aside."""
