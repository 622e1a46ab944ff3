// Package data holds the tests of what a tenant's data go through: content,
// isolation, many callers at once, hostile callers, full pools, crashes and
// faults, each through the CSI socket of an agent.
//
// Every case is written once. TestFake runs those that need no true blocks
// anywhere, with an agent in this process on a host in memory, in seconds.
// TestReal runs them in a node of the bed, on real NVMe drives and real LVM,
// with the agent as a process of its own that can be killed. TestNode drives a
// node of the bed from outside: power cuts and reboots.
//
//	go test ./test/data
//	make test-real REAL=./test/data TESTFLAGS='-run TestReal/content -v'
//	LVME_DATA=full make test-real REAL=./test/data      # the long form
//	LVME_TESTS=bed go test ./test/data -run TestNode -timeout 20m -v
//
// There is nothing in it but tests. Every single death of an agent is gone
// through in test/torture.
package data
