package bench

import (
	"strings"
	"testing"
)

func TestSumOfMetrics(t *testing.T) {
	text := "# HELP a_total x\n# TYPE a_total counter\na_total 3\na_total_more 5\nb_total{op=\"get\"} 7\nc_total 1e+03\n"
	if v, err := sumOf(strings.NewReader(text), []string{"a_total", "c_total"}); err != nil || v != 1003 {
		t.Errorf("%v %v", v, err)
	}
	if _, err := sumOf(strings.NewReader(text), []string{"a_total", "b_total"}); err == nil {
		t.Error("a metric that is not there is no error")
	}
}
