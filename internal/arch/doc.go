// Package arch holds the house together: its tests read the source of this
// module and fail where it leaves the shape that docs/architecture.md draws.
//
// They check who imports whom and why, what only one package may do, how large
// files and functions get, that every package says what its job is, and that
// the documents name what the code has. Each rule is also shown an offence
// that it must catch.
//
// The package has no code outside tests, and judges no behaviour: that is for
// the tests of each package.
package arch
