// Package driver holds what every lvme process shares, whichever CSI services
// it serves: the names, the identity service, the server on its Unix socket,
// what surrounds each call (request id, log, metrics, recovery, errors turned
// into gRPC statuses) and the checks of the request fields that the controller
// and the node read alike.
//
// It decides nothing about volumes. Of package volume it knows the types and
// the sentinel errors only, so that the central controller, which has no LVM,
// can use it as well. Together with package router it is the only place where
// gRPC status codes appear.
package driver
