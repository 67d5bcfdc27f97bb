// LINEX_API marks what crosses the library boundary; everything else is hidden.
#pragma once

#define LINEX_API __attribute__((visibility("default")))
