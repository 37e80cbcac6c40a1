//go:build !new

package main

// What NRI 0.9 knows.
func subject(p *plugin) interface{} { return p }
