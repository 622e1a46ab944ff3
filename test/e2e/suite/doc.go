// Package suite runs specs of Kubernetes' own storage tests (e2e.test with -storage.testdriver) against a driver in a
// cluster: it lists them, leaves out those that do not apply with a reason each, and runs them one process a spec until
// the time is over. What was not started is told, never counted as passed.
//
// A spec is a test of the suite by its full name. It passed, failed, or skipped itself when the suite found that it does
// not apply after all; interrupted and crashed specs have failed.
package suite
