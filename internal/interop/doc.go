// Package interop tests the Transport together with libraries that send requests through
// it and retry by themselves. It is a module of its own because of their dependencies.
package interop
