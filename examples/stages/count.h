/* How many words a text has. */
unsigned count(const char *text);
