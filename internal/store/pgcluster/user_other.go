//go:build !unix

package pgcluster

import "syscall"

func unprivileged(string) (*syscall.SysProcAttr, error) { return nil, nil }
