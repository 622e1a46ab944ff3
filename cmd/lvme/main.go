// Command lvme is the driver of a node's NVMe drives and the tool of whoever
// looks after them: `lvme agent` serves CSI, the other commands show and
// change what the node's drives are used for.
//
// It parses, wires and prints. Nothing is decided here that package agent or
// package volume could decide.
package main

import "os"

func main() {
	env := newEnvironment()
	program := newProgram(env)
	os.Exit(program.run(os.Args[1:]))
}
