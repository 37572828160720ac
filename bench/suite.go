package bench

type Suite struct {
	Firn, MinIO, Etcd, Dir string
	Probes                 Probes
}
