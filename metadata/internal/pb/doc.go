// Package pb holds the Go form of metadata/records.proto. Only package metadata uses it.
package pb

//go:generate protoc --proto_path=../../.. --go_out=. --go_opt=module=firn/metadata/internal/pb metadata/records.proto
