// Command versitygw serves a directory as S3 on one address: a second real S3 implementation for
// the tests. It leaves out the gateway's other back ends, which take most of its build time.
//
//	ROOT_ACCESS_KEY=… ROOT_SECRET_KEY=… versitygw HOST:PORT DIR [SIDECAR-DIR]
//
// Object metadata lies in extended attributes, or in SIDECAR-DIR where the file system has none.
package main

import (
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	if len(os.Args) != 3 && len(os.Args) != 4 {
		log.Fatal("usage: versitygw HOST:PORT DIR [SIDECAR-DIR]")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	opts := posix.PosixOpts{Concurrency: 256, CopyObjectThreshold: 5 << 30}
	var store meta.MetadataStorer = meta.XattrMeta{}
	if len(os.Args) == 4 {
		sidecar, err := meta.NewSideCar(os.Args[3])
		if err != nil {
			log.Fatal(err)
		}
		store, opts.SideCarDir = sidecar, os.Args[3]
	}
	dir, err := posix.New(os.Args[2], store, opts)
	if err != nil {
		log.Fatal(err)
	}
	err = embedgw.RunVersityGW(ctx, dir, &embedgw.Config{
		RootUserAccess:    os.Getenv("ROOT_ACCESS_KEY"),
		RootUserSecret:    os.Getenv("ROOT_SECRET_KEY"),
		Ports:             []string{os.Args[1]},
		MaxConnections:    1024,
		MaxRequests:       512,
		MultipartMaxParts: 10000,
		HealthPath:        "/health",
		KeepAlive:         true,
		Quiet:             true,
	})
	if err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}
