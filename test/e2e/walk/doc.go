// Package walk runs the commands of a document as a reader does who copies them into a shell line by line, and holds
// what they print to what the document shows.
//
// A fenced block of the language sh is run; a block of the language text that follows it, with nothing but empty lines
// between, is what it must print. Other blocks are not looked at. All blocks share one shell, so that variables live on.
// In a block of text "..." stands for anything within a line, a line of "..." for any number of lines, and columns may
// be wider or narrower.
package walk
