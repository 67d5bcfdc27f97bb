# Comments are plain text: what Doxygen would take for a command or a tag stands for itself.
/^ *\/\/\// s/\\\([a-z]\)/\\\\\1/g
/^ *\/\/\// s/<\([a-z]\)/\\<\1/g
s/@[A-Z]/@&/g
