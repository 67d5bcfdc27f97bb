// The program behind linex, which host/launcher starts.
#include "host/program.hpp"

int main(int argc, char** argv) { return linex::run_program(argc, argv); }
