// Package e2e holds no code; its module holds the tests that need a real API
// server, and the demo.
package e2e
