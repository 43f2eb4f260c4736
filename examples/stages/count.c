#include "count.h"

#include <ctype.h>

unsigned count(const char *text) {
    unsigned words = 0;
    int inside = 0;
    for (; *text; text++) {
        int is_word = !isspace((unsigned char)*text);
        words += is_word && !inside;
        inside = is_word;
    }
    return words;
}
