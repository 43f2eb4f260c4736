#include "count.h"

#include <stdio.h>

int main(void) {
    int is_right = count("") == 0 && count(" a  b\tc ") == 3;
    puts(is_right ? "all is well" : "count() is wrong");
    return !is_right;
}
