// Package deploy is what a cluster gets: the Helm chart, the manifests rendered
// from it, and in package image the builder of the container image.
//
// It has no code but its tests. They hold what Helm renders, for many sets of
// values, to the API's types, to the flags of the programs that are started, and
// to what is promised of privileges.
package deploy
